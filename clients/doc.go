// Package clients runs clients that people use, unchanged, against the real server.
package clients
