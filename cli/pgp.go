package cli

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
)

// readPGPKeys reads public keys as the API takes them: base64 of the binary form. A file may hold that, the binary
// form, or the armoured one.
func readPGPKeys(files []string) ([]string, error) {
	keys := make([]string, 0, len(files))
	for _, name := range files {
		content, err := os.ReadFile(strings.TrimPrefix(name, "@"))
		if err != nil {
			return nil, mistake("Error reading PGP key: %s", err)
		}
		keys = append(keys, pgpBase64(content))
	}
	return keys, nil
}

func pgpBase64(content []byte) string {
	text := strings.TrimSpace(string(content))
	if strings.HasPrefix(text, "-----BEGIN PGP ") {
		return unarmour(text)
	}
	compact := strings.Join(strings.Fields(text), "")
	if _, err := base64.StdEncoding.DecodeString(compact); err == nil {
		return compact
	}
	return base64.StdEncoding.EncodeToString(content)
}

// unarmour takes the base64 lines of a block: after the blank line that ends its headers, up to the checksum, which
// the server has no use for. Source: RFC 9580, section 6.2.
func unarmour(text string) string {
	var b bytes.Buffer
	inBody := false
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			inBody = true
		case inBody && (strings.HasPrefix(line, "=") || strings.HasPrefix(line, "-----END")):
			return b.String()
		case inBody:
			b.WriteString(line)
		}
	}
	return b.String()
}
