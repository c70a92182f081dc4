package tdstest

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// expression is evaluated for a row: nil outside of a query. Values are nil, int64, string, []byte, and bool for conditions.
type expression func(c *conn, r *row) (any, error)

// row is what a query's sources have at the moment.
type row struct {
	sources []source
	outer   *row // of the query around
}

// source is a row of one source, under its alias.
type source struct {
	alias   string
	columns map[string]any
}

// column finds a value.
func (r *row) column(alias, name string) (any, error) {
	for at := r; at != nil; at = at.outer {
		for _, s := range at.sources {
			if alias != "" && fold(alias) != fold(s.alias) {
				continue
			}
			if v, ok := s.columns[fold(name)]; ok {
				return v, nil
			}
		}
	}
	return nil, sqlError(207, "Invalid column name '%s'.", name)
}

func (p *parser) expression() expression { return p.chain(p.and, "OR") }
func (p *parser) and() expression        { return p.chain(p.not, "AND") }

// chain reads conditions with OR or AND between them.
func (p *parser) chain(part func() expression, by string) expression {
	left := part()
	for p.accept(by) {
		a, b := left, part()
		left = func(c *conn, r *row) (any, error) {
			v, err := a(c, r)
			if err != nil || (v == true) == (by == "OR") {
				return v, err
			}
			return b(c, r)
		}
	}
	return left
}

func (p *parser) not() expression {
	if p.accept("NOT") {
		inner := p.not()
		return func(c *conn, r *row) (any, error) {
			v, err := inner(c, r)
			if v == nil {
				return nil, err
			}
			return v != true, err
		}
	}
	return p.comparison()
}

func (p *parser) comparison() expression {
	left := p.sum()
	for _, op := range []string{"=", "<>", "!=", "<=", ">=", "<", ">"} {
		if p.symbol(op) {
			right := p.sum()
			return binary2(left, right, func(a, b any) (any, error) {
				order, err := compare(a, b)
				return map[string]bool{"=": order == 0, "<>": order != 0, "!=": order != 0, "<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0}[op], err
			})
		}
	}
	switch {
	case p.accept("IS"):
		negated := p.accept("NOT")
		p.expect("NULL")
		return func(c *conn, r *row) (any, error) {
			v, err := left(c, r)
			return (v == nil) != negated, err
		}
	case p.accept("IN"):
		return p.in(left, false)
	case p.accept("NOT", "IN"):
		return p.in(left, true)
	case p.accept("LIKE"):
		return binary2(left, p.sum(), func(a, b any) (any, error) { return like(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return left
}

// like knows patterns with % at the end alone.
func like(value, pattern string) (any, error) {
	prefix, any := strings.CutSuffix(pattern, "%")
	if strings.ContainsAny(prefix, "%_[") {
		return nil, sqlError(102, "tdstest knows LIKE with %% at the end alone.")
	}
	if !any {
		return fold(value) == fold(prefix), nil
	}
	return strings.HasPrefix(strings.ToLower(value), strings.ToLower(prefix)), nil
}

func (p *parser) in(left expression, negated bool) expression {
	p.expectSymbol("(")
	var list func(c *conn, r *row) ([]any, error)
	if p.is("SELECT") {
		query := p.query()
		list = func(c *conn, r *row) ([]any, error) {
			result, err := query(c, r)
			var values []any
			for _, one := range result.rows {
				values = append(values, one[0])
			}
			return values, err
		}
	} else {
		items := []expression{p.expression()}
		for p.symbol(",") {
			items = append(items, p.expression())
		}
		list = func(c *conn, r *row) (values []any, err error) {
			for _, item := range items {
				v, err := item(c, r)
				if err != nil {
					return nil, err
				}
				values = append(values, v)
			}
			return values, nil
		}
	}
	p.expectSymbol(")")
	return func(c *conn, r *row) (any, error) {
		v, err := left(c, r)
		if err != nil || v == nil {
			return nil, err
		}
		values, err := list(c, r)
		if err != nil {
			return nil, err
		}
		for _, one := range values {
			if order, err := compare(v, one); err == nil && one != nil && order == 0 {
				return !negated, nil
			}
		}
		return negated, nil
	}
}

// binary2 is of two values; NULL when one is.
func binary2(left, right expression, f func(a, b any) (any, error)) expression {
	return func(c *conn, r *row) (any, error) {
		a, err := left(c, r)
		if err != nil {
			return nil, err
		}
		b, err := right(c, r)
		if err != nil || a == nil || b == nil {
			return nil, err
		}
		return f(a, b)
	}
}

// compare compares as the server's collation does: case and blanks at the end count for nothing.
func compare(a, b any) (int, error) {
	switch x := a.(type) {
	case int64:
		switch y := b.(type) {
		case int64:
			return cmp.Compare(x, y), nil
		case string:
			n, err := strconv.ParseInt(y, 10, 64)
			if err != nil {
				return 0, abort(245, "Conversion failed when converting the nvarchar value '%s' to data type int.", y)
			}
			return cmp.Compare(x, n), nil
		}
	case string:
		switch y := b.(type) {
		case string:
			return strings.Compare(fold(x), fold(y)), nil
		case int64:
			order, err := compare(y, x)
			return -order, err
		}
	case []byte:
		if y, ok := b.([]byte); ok {
			return bytes.Compare(x, y), nil
		}
	}
	return 0, abort(206, "Operand type clash")
}

func (p *parser) sum() expression {
	left := p.atom()
	for p.symbol("+") {
		left = binary2(left, p.atom(), func(a, b any) (any, error) {
			x, isText := a.(string)
			y, both := b.(string)
			if isText && both {
				return x + y, nil
			}
			n, first := a.(int64)
			m, second := b.(int64)
			if first && second {
				return n + m, nil
			}
			return nil, abort(206, "Operand type clash")
		})
	}
	return left
}

func constant(v any) expression { return func(*conn, *row) (any, error) { return v, nil } }

func (p *parser) atom() expression {
	switch t := p.peek(); {
	case t.kind == text:
		return constant(p.next().text)
	case t.kind == number:
		return constant(int64(p.number()))
	case t.kind == hexNumber:
		raw, err := hex.DecodeString(p.next().text)
		if err != nil {
			p.fail()
		}
		return constant(raw)
	case p.symbol("-"):
		return constant(-int64(p.number()))
	case p.accept("NULL"):
		return constant(nil)
	case p.accept("EXISTS"):
		p.expectSymbol("(")
		query := p.query()
		p.expectSymbol(")")
		return func(c *conn, r *row) (any, error) {
			result, err := query(c, r)
			return len(result.rows) > 0, err
		}
	case p.symbol("("):
		inner := p.parenthesis()
		p.expectSymbol(")")
		return inner
	case t.kind == word && strings.HasPrefix(t.text, "@@"):
		p.at++
		return p.global(t.text)
	case t.kind == word && strings.HasPrefix(t.text, "@"):
		p.at++
		return func(c *conn, _ *row) (any, error) {
			v, declared := c.variables[fold(t.text)]
			if !declared {
				return nil, abort(137, "Must declare the scalar variable \"%s\".", t.text)
			}
			return v, nil
		}
	}
	if t := p.peek(); t.kind == word && p.at+1 < len(p.tokens) && p.tokens[p.at+1] == (token{symbol, "("}) {
		p.at += 2
		return p.function(strings.ToUpper(t.text))
	}
	names := p.names()
	if len(names) > 2 {
		p.fail()
	}
	alias, name := "", names[len(names)-1]
	if len(names) == 2 {
		alias = names[0]
	}
	return func(_ *conn, r *row) (any, error) { return r.column(alias, name) }
}

// parenthesis is a condition, a value or a query with one value.
func (p *parser) parenthesis() expression {
	if !p.is("SELECT") {
		return p.expression()
	}
	query := p.query()
	return func(c *conn, r *row) (any, error) {
		result, err := query(c, r)
		switch {
		case err != nil || len(result.rows) == 0:
			return nil, err
		case len(result.rows) > 1:
			return nil, sqlError(512, "Subquery returned more than 1 value.")
		}
		return result.rows[0][0], nil
	}
}

func (p *parser) global(name string) expression {
	switch strings.ToUpper(name) {
	case "@@SPID":
		return func(c *conn, _ *row) (any, error) { return int64(c.id), nil }
	case "@@TRANCOUNT":
		return func(c *conn, _ *row) (any, error) { return int64(c.transaction), nil }
	case "@@SERVERNAME":
		return constant(serverName)
	}
	panic(sqlError(137, "Must declare the scalar variable \"%s\".", name))
}
