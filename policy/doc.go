// Package policy parses access policies and decides by them.
//
// [Parse] turns a policy's text into a [Policy]; [NewACL] compiles the policies of one token into an [ACL], which is
// asked with [ACL.Check] before a request runs. The package is pure: no store, no clock, no locks. A Policy and an
// ACL never change once made and may be shared between goroutines.
//
// One rule decides a request: the exact rule of its path or, failing that, the best of the wildcard rules that cover
// it. Rules of less specific paths add nothing, and no rule means denied. Everything that cannot be judged denies: a
// template that cannot be filled drops its rule, and a restriction that this server does not enforce (control groups,
// MFA, filtered or paginated lists) takes away the capabilities that it was meant to restrict.
//
// Source: the wire contract's sheet on policies and the recorded exchanges policy-* and sys-capabilities.
package policy
