// Package audit writes a line about every request to the enabled devices.
//
// A [Broker] holds the devices. The pipeline calls [Broker.Request] before a request runs and [Broker.Response] before
// its answer is sent. With any device enabled, at least one must take the line; else the call returns an error, and
// the request is not run or its answer is withheld.
//
// Secrets do not get into a line. Tokens and all text in the data of requests and responses, at any depth, are written
// as an HMAC-SHA256 under a key of the device: equal values can be found in one device's lines, and nothing can be read
// from them. Clear are only names, numbers, booleans, times, the keys that a mount exempts, and everything on a device
// whose log_raw option says so.
//
// Who keeps the list of devices and their keys is the caller's business.
//
// Source: the wire contract's sheet on audit and the recorded exchanges audit-*.
package audit
