package tdstest

import (
	"maps"
	"slices"
	"strings"
)

// execute is EXEC of a text or of a procedure.
func (p *parser) execute() statement {
	if p.symbol("(") {
		value := p.expression()
		p.expectSymbol(")")
		return func(c *conn) error {
			v, err := value(c, nil)
			sql, isText := v.(string)
			if err != nil || !isText {
				return err
			}
			return c.dynamic(sql, map[string]any{})
		}
	}
	names := p.names()
	type argument struct {
		name  string
		value expression
	}
	var args []argument
	for t := p.peek(); t.kind == word && strings.HasPrefix(t.text, "@") || t.kind == text || t.kind == quoted || t.kind == number; t = p.peek() {
		one := argument{}
		if t.kind == word && p.at+1 < len(p.tokens) && p.tokens[p.at+1] == (token{symbol, "="}) {
			one.name = fold(t.text)
			p.at += 2
		}
		if p.peek().kind == quoted {
			one.value = constant(p.next().text)
		} else {
			one.value = p.atom()
		}
		args = append(args, one)
		if !p.symbol(",") {
			break
		}
	}
	name := fold(names[len(names)-1])
	run, known := procedures()[name]
	if !known {
		return func(*conn) error {
			return abort(2812, "Could not find stored procedure '%s'. (tdstest knows only some.)", name)
		}
	}
	return func(c *conn) error {
		values := map[string]string{}
		for i, one := range args {
			v, err := one.value(c, nil)
			if err != nil {
				return err
			}
			key := one.name
			if key == "" && i < len(run.arguments) {
				key = run.arguments[i]
			}
			s, isText := v.(string)
			if !isText {
				return abort(8114, "tdstest wants texts as arguments of procedures.")
			}
			values[key] = s
		}
		for key := range values {
			if !slices.Contains(run.arguments, key) {
				return abort(8145, "%s is not a parameter for procedure %s.", key, name)
			}
		}
		return run.call(c, values)
	}
}

// dynamic runs a text. Its USE and its variables end with it.
func (c *conn) dynamic(sql string, variables map[string]any) error {
	database, outer := c.database, c.variables
	c.variables = maps.Clone(variables)
	err := c.batch(sql)
	c.variables = outer
	if c.database != database {
		c.reply.database(database, c.database)
		c.database = database
	}
	return err
}

type procedure struct {
	arguments []string
	call      func(c *conn, args map[string]string) error
}

// procedures are those that are known. (A variable would have to be set before parse, which needs it.)
func procedures() map[string]procedure {
	return map[string]procedure{
		"sp_addrolemember": {[]string{"@rolename", "@membername"}, func(c *conn, args map[string]string) error {
			return c.setMember(args["@rolename"], args["@membername"], true)
		}},
		"sp_droprolemember": {[]string{"@rolename", "@membername"}, func(c *conn, args map[string]string) error {
			return c.setMember(args["@rolename"], args["@membername"], false)
		}},
		"sp_executesql": {[]string{"@stmt"}, func(c *conn, args map[string]string) error {
			return c.dynamic(args["@stmt"], map[string]any{})
		}},
		"sp_addsrvrolemember":  {[]string{"@loginame", "@rolename"}, serverMember(true)},
		"sp_dropsrvrolemember": {[]string{"@loginame", "@rolename"}, serverMember(false)},
		"sp_addextendedproperty": {[]string{"@name", "@value", "@level0type", "@level0name"}, func(c *conn, args map[string]string) error {
			return c.inDatabase(func(_ *state, d *database) error {
				u := d.principals[fold(args["@level0name"])]
				switch {
				case !strings.EqualFold(args["@level0type"], "USER"):
					return sqlError(15600, "An invalid parameter or option was specified for procedure 'sp_addextendedproperty'.")
				case u == nil || !c.has(d, "ALTER ANY USER", "DATABASE", ""):
					return sqlError(15135, "Object is invalid. Extended properties are not permitted on '%s', or the object does not exist.", args["@level0name"])
				case u.property[args["@name"]] != "":
					return sqlError(15233, "Property cannot be added. Property '%s' already exists for '%s'.", args["@name"], args["@level0name"])
				}
				u.property[args["@name"]] = args["@value"]
				return nil
			})
		}},
	}
}

func serverMember(add bool) func(c *conn, args map[string]string) error {
	return func(c *conn, args map[string]string) error {
		if c.transaction > 0 {
			return sqlError(15002, "The procedure 'sys.sp_addsrvrolemember' cannot be executed within a transaction.")
		}
		return c.setServerMember(args["@rolename"], args["@loginame"], add)
	}
}
