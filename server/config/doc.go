// Package config reads the server's configuration: files in HCL 1 or JSON, then environment variables.
//
// Call [Load], then [Config.Validate]. Files are read in the order given, the files of a directory in the order of
// their names; a later value replaces an earlier one, and listeners add up. A key that is not known, or has no effect
// here, is a warning that names file and line; a value of the wrong type is an error that names file, line, key and
// what was expected, and never the value, which may be a secret in the wrong place.
//
// Keys, defaults and the order of precedence are those of the wire contract's sheet on server configuration.
package config
