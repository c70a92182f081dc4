// Package clients runs clients and plugins that people use, unchanged, with the real server.
package clients
