// Package external drives databases through programs of other people: plugins that speak version 5 of the published database plugin
// protocol, gRPC by hashicorp/go-plugin.
//
// [Driver] launches a program and calls it. What a program may do is limited by what its process may do; it runs with this
// server's rights (docs/adr/0015-external-plugins.md).
//
// # Processes
//
// Each open database has a process of its own, started at its first call, so that one plugin's crash or hang is never another's. A
// program is started only if its file has the SHA-256 that was registered; it gets nothing of this server's environment, and the
// connection's settings through the channel alone, which is TLS with certificates made for this process. [Database.Verify] starts
// another process, and it takes over when it has logged in: the calls of the former one go on and it ends after the last. One
// that has ended, or that gives no sign of life after a call had no answer, is replaced at the next call. One that keeps ending soon
// after its start is started more and more rarely.
//
// # Names
//
// In this protocol the plugin names the user, and tells the name in the answer. It makes the name by the setting
// username_template if it knows one. So that setting is "{{.DisplayName}}" for every plugin, and the display name of each
// user is the name that was chosen for it: a plugin that knows the setting uses exactly this name. One that does not makes
// another name, as a rule with a part of ours in it. [plugins.Namer] tells the engine of such.
package external
