// Package cli is the command line: the server's start and every client command.
//
// [Main] is the whole program. The tree of commands is in commands.go, one file holds each group. A command is data
// (a leaf: its name, arguments, flags) and a function of (ctx, env, options) that needs no flags to be tested; env
// holds what the command may touch: the streams, the environment and the client.
//
// Answers and success texts go to stdout, everything else to stderr. Exit codes: 0 success; 1 a mistake on this side;
// 2 the server refused, could not be reached or has nothing at that path; 127 unknown command. status and
// operator init -status have their own. No secret is ever written to stderr.
//
// Source of the rules: the public command reference of the API's first client, which scripts call "vault". A copy or
// link of the binary with another name behaves the same; it only shows that name in its hints.
package cli
