package external

import (
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"leasehold/plugins"
)

// classes are what an answer's code says about a call. Codes that are not named are Refused: plugins use Internal for whatever their
// database refuses. Those of the first kind are also what the library says of a plugin that is gone.
var classes = map[codes.Code]plugins.Class{
	codes.Unavailable:       plugins.Unknown,
	codes.DeadlineExceeded:  plugins.Unknown,
	codes.Canceled:          plugins.Unknown,
	codes.ResourceExhausted: plugins.Unknown,
	codes.Aborted:           plugins.Unknown,
	codes.DataLoss:          plugins.Unknown,
	codes.InvalidArgument:   plugins.Permanent,
	codes.Unimplemented:     plugins.Permanent,
}

// broken are how texts begin that the library writes itself where an answer was broken off or cannot be read.
var broken = []string{"grpc: ", "stream terminated", "unexpected HTTP", "malformed", "transport: ", "connection error", "error reading", "server closed", "cardinality"}

// classOf is what is known after a call that was sent and failed.
func classOf(err error) plugins.Class {
	s, ok := status.FromError(err)
	if !ok || slices.ContainsFunc(broken, func(text string) bool { return strings.HasPrefix(s.Message(), text) }) {
		return plugins.Unknown
	}
	if class, named := classes[s.Code()]; named {
		return class
	}
	return plugins.Refused
}

// explained is an error of a call in the words of people. It may still hold secrets.
func explained(err error) error {
	s, ok := status.FromError(err)
	switch {
	case !ok:
		return err
	case s.Code() == codes.DeadlineExceeded:
		return errors.New("the plugin did not answer in time")
	case s.Code() == codes.Unavailable:
		return errors.New("the plugin has ended or hung up: " + s.Message())
	}
	return errors.New(s.Message())
}
