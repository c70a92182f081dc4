package cli

// The help texts of a command, of a group of commands, and of the program. The parser fills them in; tabs align.

const commandHelp = `Usage: {{.HelpName}} [flags]{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}

{{.Usage}}.{{if .Description}}
{{.Description}}{{end}}
` + flagHelp

const flagHelp = `{{range .VisibleFlagCategories}}
{{if .Name}}{{.Name}}{{else}}Flags{{end}}:
{{range .Flags}}  {{range $i, $name := .Names}}{{if $i}}, {{end}}-{{$name}}{{end}}{{if .TakesValue}}=VALUE{{end}}{{"\t"}}{{.GetUsage}}
{{end}}{{end}}`

const groupHelp = `Usage: {{.HelpName}} COMMAND [flags] [arguments]

{{.Usage}}.

Commands:
` + subcommandHelp

const subcommandHelp = `{{range .VisibleCommands}}  {{.Name}}{{"\t"}}{{.Usage}}
{{end}}`

const programHelp = `Usage: {{.Name}} COMMAND [flags] [arguments]

{{.Usage}}.

Commands:
` + subcommandHelp + `
{{.Name}} COMMAND -h shows the flags of a command. Flags stand before the arguments.

The server is looked for at VAULT_ADDR, or else at https://127.0.0.1:8200. Each variable VAULT_X may
also be set as LEASEHOLD_X, which then wins.
`
