package tdstest

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// result is what a query has found.
type result struct {
	columns []string
	rows    [][]any
}

type query func(c *conn, outer *row) (result, error)

// selection is a SELECT as a statement.
func (p *parser) selection() statement {
	q := p.query()
	return func(c *conn) error {
		found, err := q(c, nil)
		if err != nil {
			return err
		}
		return c.reply.rows(found.columns, found.rows)
	}
}

// item is one of a SELECT's list; all of them for *, and a count for COUNT(*).
type item struct {
	name       string
	value      expression
	all, count bool
}

// join is a source with its condition.
type join struct {
	read  func(c *conn) ([]map[string]any, error)
	alias string
	left  bool
	on    expression
}

func (p *parser) query() query {
	p.expect("SELECT")
	var items []item
	for {
		items = append(items, p.item())
		if !p.symbol(",") {
			break
		}
	}
	var from []join
	if p.accept("FROM") {
		from = append(from, p.source())
		for {
			left := p.accept("LEFT", "JOIN")
			if !left && !p.accept("JOIN") {
				break
			}
			one := p.source()
			one.left = left
			p.expect("ON")
			one.on = p.expression()
			from = append(from, one)
		}
	}
	var where, order expression
	if p.accept("WHERE") {
		where = p.expression()
	}
	if p.accept("ORDER", "BY") {
		order = p.expression()
	}
	return func(c *conn, outer *row) (result, error) {
		rows := []*row{{outer: outer}}
		for _, j := range from {
			var err error
			if rows, err = j.apply(c, rows); err != nil {
				return result{}, err
			}
		}
		if where != nil {
			kept := rows[:0]
			for _, r := range rows {
				v, err := where(c, r)
				if err != nil {
					return result{}, err
				}
				if v == true {
					kept = append(kept, r)
				}
			}
			rows = kept
		}
		if err := sortRows(c, rows, order); err != nil {
			return result{}, err
		}
		return project(c, items, rows)
	}
}

func (p *parser) item() item {
	if p.symbol("*") {
		return item{all: true}
	}
	if p.is("COUNT") {
		p.at++
		for _, s := range []string{"(", "*", ")"} {
			p.expectSymbol(s)
		}
		return item{count: true}
	}
	from := p.at
	one := item{value: p.expression()}
	if p.accept("AS") {
		one.name = p.name()
	} else if last := p.tokens[p.at-1]; p.at-from <= 3 && (last.kind == word || last.kind == quoted) {
		one.name = last.text
	}
	return one
}

// source is a table or view, under its alias or its name.
func (p *parser) source() join {
	names := p.names()
	j := join{alias: names[len(names)-1], read: func(c *conn) ([]map[string]any, error) { return c.table(names) }}
	if p.accept("AS") {
		j.alias = p.name()
	} else if t := p.peek(); t.kind == quoted || t.kind == word && !slices.Contains(reserved, strings.ToUpper(t.text)) {
		j.alias = p.name()
	}
	return j
}

// apply joins the source to the rows so far.
func (j join) apply(c *conn, rows []*row) ([]*row, error) {
	found, err := j.read(c)
	if err != nil {
		return nil, err
	}
	var joined []*row
	for _, r := range rows {
		matched := false
		for _, columns := range found {
			with := &row{append(slices.Clone(r.sources), source{j.alias, columns}), r.outer}
			if j.on != nil {
				v, err := j.on(c, with)
				if err != nil {
					return nil, err
				}
				if v != true {
					continue
				}
			}
			matched = true
			joined = append(joined, with)
		}
		if j.left && !matched {
			empty := map[string]any{}
			for _, columns := range found {
				for name := range columns {
					empty[name] = nil
				}
			}
			if len(found) == 0 {
				for _, name := range allColumns {
					empty[name] = nil
				}
			}
			joined = append(joined, &row{append(slices.Clone(r.sources), source{j.alias, empty}), r.outer})
		}
	}
	return joined, nil
}

func sortRows(c *conn, rows []*row, by expression) error {
	if by == nil {
		return nil
	}
	var failed error
	slices.SortStableFunc(rows, func(a, b *row) int {
		x, err := by(c, a)
		if err == nil {
			var y any
			if y, err = by(c, b); err == nil {
				order, incomparable := compare(x, y)
				if incomparable == nil {
					return order
				}
				err = incomparable
			}
		}
		failed = err
		return 0
	})
	return failed
}

func project(c *conn, items []item, rows []*row) (result, error) {
	var found result
	for _, one := range items {
		if one.all {
			found.columns = append(found.columns, "everything")
		} else {
			found.columns = append(found.columns, one.name)
		}
	}
	if len(items) == 1 && items[0].count {
		found.rows = [][]any{{int64(len(rows))}}
		return found, nil
	}
	for _, r := range rows {
		var values []any
		for _, one := range items {
			if one.all || one.count {
				values = append(values, int64(1))
				continue
			}
			v, err := one.value(c, r)
			if err != nil {
				return found, err
			}
			if _, is := v.(bool); is {
				return found, sqlError(102, "Incorrect syntax: a condition in a list of values.")
			}
			values = append(values, v)
		}
		found.rows = append(found.rows, values)
	}
	return found, nil
}

// function reads the arguments of a function, whose name and parenthesis are behind.
func (p *parser) function(name string) expression {
	if name == "CONVERT" {
		kind := p.typeName()
		p.expectSymbol(",")
		value := p.expression()
		if p.symbol(",") {
			p.number() // the style: times have that of 121 here
		}
		p.expectSymbol(")")
		return convert(kind, value)
	}
	var args []expression
	for !p.symbol(")") {
		if len(args) > 0 {
			p.expectSymbol(",")
		}
		args = append(args, p.expression())
	}
	f, known := functions[name]
	if !known || len(args) < f.min || len(args) > f.max {
		panic(sqlError(195, "'%s' is not a recognized built-in function name. (tdstest knows only some.)", name))
	}
	return func(c *conn, r *row) (any, error) {
		values := make([]any, f.max)
		for i, arg := range args {
			v, err := arg(c, r)
			if err != nil {
				return nil, err
			}
			values[i] = v
		}
		return f.call(c, values)
	}
}

func convert(kind string, value expression) expression {
	return func(c *conn, r *row) (any, error) {
		v, err := value(c, r)
		_, isText := v.(string)
		if err == nil && v != nil && !(isText && (kind == "nvarchar" || kind == "varchar" || kind == "sysname")) {
			return nil, sqlError(529, "tdstest converts texts to texts alone.")
		}
		return v, err
	}
}

type function struct {
	min, max int
	call     func(c *conn, args []any) (any, error)
}

var functions = map[string]function{
	"DB_NAME": {0, 0, func(c *conn, _ []any) (any, error) { return c.database, nil }},
	"DB_ID": {0, 1, func(c *conn, args []any) (any, error) {
		name, given := args[0].(string)
		if !given {
			name = c.database
		}
		if d := c.read().databases[fold(name)]; d != nil {
			return int64(d.id), nil
		}
		return nil, nil
	}},
	"SUSER_SNAME":    {0, 0, func(c *conn, _ []any) (any, error) { return c.user, nil }},
	"ORIGINAL_LOGIN": {0, 0, func(c *conn, _ []any) (any, error) { return c.user, nil }},
	"DATABASE_PRINCIPAL_ID": {1, 1, func(c *conn, args []any) (any, error) {
		name, _ := args[0].(string)
		if p := c.here().principals[fold(name)]; p != nil && c.sees(c.here(), p) {
			return int64(p.id), nil
		}
		return nil, nil
	}},
	"HAS_DBACCESS": {1, 1, func(c *conn, args []any) (any, error) {
		name, _ := args[0].(string)
		d := c.read().databases[fold(name)]
		switch {
		case d == nil:
			return nil, nil
		case c.enters(d) && (c.authDB == 0 || c.authDB == d.id):
			return int64(1), nil
		}
		return int64(0), nil
	}},
	"HAS_PERMS_BY_NAME": {3, 3, func(c *conn, args []any) (any, error) {
		permission, _ := args[2].(string)
		has := false
		switch class, _ := args[1].(string); {
		case args[0] == nil && args[1] == nil:
			has = c.hasServer(strings.ToUpper(permission))
		case strings.EqualFold(class, "DATABASE"):
			name, _ := args[0].(string)
			d := c.read().databases[fold(name)]
			has = d != nil && c.has(d, strings.ToUpper(permission), "DATABASE", "")
		default:
			return nil, sqlError(102, "tdstest knows HAS_PERMS_BY_NAME of the server and of databases alone.")
		}
		if has {
			return int64(1), nil
		}
		return int64(0), nil
	}},
	"CHARINDEX": {2, 2, func(_ *conn, args []any) (any, error) {
		part, _ := args[0].(string)
		whole, isText := args[1].(string)
		if !isText || part == "" {
			return int64(0), nil
		}
		at := strings.Index(strings.ToLower(whole), strings.ToLower(part))
		if at >= 0 {
			at = utf8.RuneCountInString(strings.ToLower(whole)[:at])
		}
		return int64(at + 1), nil
	}},
	"QUOTENAME": {1, 1, func(_ *conn, args []any) (any, error) {
		name, isText := args[0].(string)
		if !isText {
			return nil, nil
		}
		return "[" + strings.ReplaceAll(name, "]", "]]") + "]", nil
	}},
}
