// Package envelope is the JSON that answers are written in.
//
// [Append] writes an answer, [Parse] reads one that was kept. The encoder appends to a buffer that is used again, and
// knows the kinds that answers are made of; whatever else comes goes through encoding/json. It is the place where
// secrets leave the process: a secret.Text in an answer is written as its value.
//
// Source: the wire contract's sheet on the protocol, "Answers".
package envelope
