package httpapi

import (
	"context"
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
	"quorate/witness/manifest"
)

type configBody struct {
	Meta
	Version uint64         `json:"version" doc:"log index of the entry that set it; 0 = never set"`
	Config  witness.Config `json:"config" doc:"secrets are masked"`
}

// Applied is the answer to a configuration.
type Applied struct {
	Meta
	Applied bool              `json:"applied" doc:"false for a dry run, and when nothing changes"`
	Version uint64            `json:"version" doc:"of the configuration that holds now"`
	Changes []manifest.Change `json:"changes"`
}

// Checked is the judgement of a configuration.
type Checked struct {
	Meta
	Valid   bool              `json:"valid"`
	Faults  manifest.Faults   `json:"faults"`
	Changes []manifest.Change `json:"changes" doc:"against the configuration that holds"`

	Warnings manifest.Faults `json:"warnings" doc:"of a valid one: what a single failure would take from fencing, as far as declared"`
}

// ConfigInput is a configuration as somebody wrote it.
type ConfigInput struct {
	File    string `query:"file" maxLength:"255" doc:"name of the file, for the faults" default:"body"`
	RawBody []byte `contentType:"application/yaml" doc:"the whole configuration as YAML or JSON; a masked secret of an unchanged device keeps its value"`
}

type putConfigInput struct {
	ConfigInput
	Base   uint64 `query:"base" doc:"the version that this one is based on; another one in between is a conflict"`
	By     string `query:"by" maxLength:"200" doc:"who applies it"`
	DryRun bool   `query:"dry_run" doc:"validate and show the changes, but change nothing"`
}

func (a *API) routeConfig(h huma.API) {
	tags := []string{"configuration"}
	register(a, h, huma.Operation{OperationID: "get-config", Method: "GET", Path: "/v1/config", Summary: "The configuration, without secrets", Tags: tags},
		func(ctx context.Context, in *ReadInput) (*answer[configBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			return &answer[configBody]{configBody{a.meta(s), s.ConfigVersion, s.Config.Redacted()}}, nil
		}, nil)
	register(a, h, huma.Operation{OperationID: "put-config", Method: "PUT", Path: "/v1/config", Summary: "Replace the configuration as a whole", Tags: tags, MaxBodyBytes: manifest.MaxBytes},
		func(ctx context.Context, in *putConfigInput) (*answer[Applied], error) {
			out, err := a.putConfig(ctx, in)
			return &answer[Applied]{out}, err
		}, nil)
	register(a, h, huma.Operation{OperationID: "validate-config", Method: "POST", Path: "/v1/config/validate", Summary: "Every fault of a configuration, and what it would change", Tags: tags, MaxBodyBytes: manifest.MaxBytes},
		func(ctx context.Context, in *ConfigInput) (*answer[Checked], error) {
			s := a.b.State()
			out := Checked{Meta: a.meta(s), Faults: manifest.Faults{}, Changes: []manifest.Change{}, Warnings: manifest.Faults{}}
			cfg, faults := a.load(in.File, in.RawBody, s.Config)
			if out.Valid = cfg != nil; out.Valid {
				if sealed, err := a.seal(ctx, cfg); err == nil { // or every secret would look like another one
					cfg = sealed
				}
				out.Changes = append(out.Changes, manifest.Diff(s.Config, cfg)...)
				out.Warnings = manifest.Warnings(in.File, in.RawBody, cfg)
			}
			out.Faults = append(out.Faults, faults...)
			return &answer[Checked]{out}, nil
		}, nil)
}

// load reads a configuration and lets the drivers look at the settings of its
// devices. It returns either a configuration or faults.
func (a *API) load(file string, raw []byte, current *witness.Config) (*witness.Config, manifest.Faults) {
	cfg, faults := manifest.LoadOver(file, raw, a.opts.Drivers, current)
	if cfg == nil || a.opts.CheckDevice == nil {
		return cfg, faults
	}
	var found []witness.Fault
	for i, d := range cfg.Devices {
		err := a.opts.CheckDevice(d)
		if err == nil {
			continue
		}
		for text := range strings.SplitSeq(err.Error(), "\n") { // errors.Join: one line for each
			found = append(found, witness.Fault{Path: fmt.Sprintf("devices[%d].settings", i), Msg: fmt.Sprintf("device %q: %s", d.Name, text)})
		}
	}
	if len(found) == 0 {
		return cfg, faults
	}
	return nil, manifest.Locate(file, raw, found)
}

func (a *API) putConfig(ctx context.Context, in *putConfigInput) (Applied, error) {
	s := a.b.State()
	cfg, faults := a.load(in.File, in.RawBody, s.Config)
	if cfg == nil {
		return Applied{}, &Error{Meta: a.meta(s), Code: witness.CodeInvalid, Message: "nothing is applied: " + faults.Error(), Faults: faults}
	}
	if in.Base != 0 && in.Base != s.ConfigVersion {
		return Applied{}, errorf(witness.CodeConflict, "the configuration is at version %d, yours is based on %d: look at `witnessctl diff` and apply again", s.ConfigVersion, in.Base)
	}
	cfg, err := a.seal(ctx, cfg)
	if err != nil {
		return Applied{}, err
	}
	out := Applied{Meta: a.meta(s), Version: s.ConfigVersion, Changes: append([]manifest.Change{}, manifest.Diff(s.Config, cfg)...)}
	if in.DryRun || len(out.Changes) == 0 && s.ConfigVersion != 0 {
		return out, nil
	}
	// What was merged with, and compared to, is the base: secrets and changes
	// belong to it.
	res, err := a.propose(ctx, witness.Configure{Config: *cfg, Base: s.ConfigVersion, By: in.By})
	if err != nil {
		return Applied{}, err
	}
	out.Meta, out.Applied, out.Version = a.meta(a.b.State()), true, res.ID
	return out, nil
}
