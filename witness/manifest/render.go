package manifest

import (
	"bytes"

	"go.yaml.in/yaml/v3"

	"quorate/witness"
)

// Render returns the canonical YAML form of a configuration: what is declared,
// in its order, defaults left out, settings sorted. Secrets are written as they
// are: pass [witness.Config.Redacted] to show it to anybody.
func Render(cfg *witness.Config) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(cfg); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
