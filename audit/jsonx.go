package audit

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
)

// jsonx rewrites a JSON object as JSONx, the XML form of JSON: an element per value, named after its type.
func jsonx(object []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	var out bytes.Buffer
	if err := jsonxValue(&out, d, "", ` xmlns:json="http://www.ibm.com/xmlns/prod/2009/jsonx"`); err != nil {
		panic("audit: a line is not JSON") // the writer above makes nothing else
	}
	return out.Bytes()
}

func jsonxValue(out *bytes.Buffer, d *json.Decoder, name, attributes string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if name != "" {
		var escaped bytes.Buffer
		_ = xml.EscapeText(&escaped, []byte(name)) // a buffer takes everything
		attributes = fmt.Sprintf(` name="%s"`, escaped.Bytes())
	}
	switch t := t.(type) {
	case json.Delim:
		kind := "array"
		if t == '{' {
			kind = "object"
		}
		fmt.Fprintf(out, "<json:%s%s>", kind, attributes)
		for d.More() {
			key := ""
			if t == '{' {
				k, err := d.Token()
				if err != nil {
					return err
				}
				key = k.(string)
			}
			if err := jsonxValue(out, d, key, ""); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "</json:%s>", kind)
		_, err = d.Token()
		return err
	case nil:
		fmt.Fprintf(out, "<json:null%s/>", attributes)
	case bool:
		fmt.Fprintf(out, "<json:boolean%s>%v</json:boolean>", attributes, t)
	case json.Number:
		fmt.Fprintf(out, "<json:number%s>%s</json:number>", attributes, t)
	case string:
		fmt.Fprintf(out, "<json:string%s>", attributes)
		_ = xml.EscapeText(out, []byte(t))
		out.WriteString("</json:string>")
	}
	return nil
}
