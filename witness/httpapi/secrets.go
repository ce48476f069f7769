package httpapi

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

// Secrets seals the secrets of devices before they get into the log.
type Secrets interface {
	// Seal returns a copy of a configuration without any secret in clear; it
	// returns a no-quorum error while this witness has no key.
	Seal(ctx context.Context, cfg *witness.Config) (*witness.Config, error)
	// Rotate makes a new data key and returns its version.
	Rotate(ctx context.Context, by string) (version uint64, err error)
}

// SecretsBody tells how the secrets of devices are kept.
type SecretsBody struct {
	Meta
	Version   uint64   `json:"version" doc:"of the newest data key; 0 = there is none"`
	Witnesses []string `json:"witnesses" doc:"those that can open it"`
	Sealed    int      `json:"sealed" doc:"secrets that are sealed with the newest data key"`
	Old       int      `json:"old" doc:"secrets that are sealed with an older one"`
	Clear     int      `json:"clear" doc:"secrets in clear: none, but for moments after an upgrade"`
}

func (a *API) routeSecrets(h huma.API) {
	tags := []string{"configuration"}
	register(a, h, huma.Operation{OperationID: "get-secrets", Method: "GET", Path: "/v1/secrets", Summary: "How the secrets of devices are kept; never the secrets", Tags: tags},
		func(ctx context.Context, in *ReadInput) (*answer[SecretsBody], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			return &answer[SecretsBody]{a.secrets(s)}, nil
		}, nil)
	type rotateInput struct {
		Body struct {
			By     string `json:"by" minLength:"1" maxLength:"200"`
			Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"why, for the record"`
		}
	}
	register(a, h, huma.Operation{OperationID: "rotate-secrets", Method: "POST", Path: "/v1/secrets/rotate", Summary: "Seal the secrets of devices with a new data key", Tags: tags},
		func(ctx context.Context, in *rotateInput) (*answer[SecretsBody], error) {
			if a.opts.Secrets == nil {
				return nil, errorf(witness.CodeInvalid, "this witness keeps no secrets")
			}
			ctx, cancel := context.WithTimeout(ctx, proposeTime)
			defer cancel()
			if _, err := a.opts.Secrets.Rotate(ctx, in.Body.By+": "+in.Body.Reason); err != nil {
				return nil, err
			}
			return &answer[SecretsBody]{a.secrets(a.b.State())}, nil
		}, nil)
}

func (a *API) secrets(s *witness.State) SecretsBody {
	out := SecretsBody{Meta: a.meta(s), Version: s.KeyVersion(), Witnesses: []string{}}
	if keys := s.DataKeys(); len(keys) > 0 {
		for _, b := range keys[len(keys)-1].Boxes {
			out.Witnesses = append(out.Witnesses, b.Node)
		}
	}
	for i := range s.Config.Devices {
		for name, value := range s.Config.Devices[i].Settings {
			switch {
			case !witness.SecretSetting(name) || value == "":
			case !witness.Sealed(value):
				out.Clear++
			case witness.SealedVersion(value) == out.Version:
				out.Sealed++
			default:
				out.Old++
			}
		}
	}
	return out
}

// seal returns a configuration as it may be put into the log.
func (a *API) seal(ctx context.Context, cfg *witness.Config) (*witness.Config, error) {
	if a.opts.Secrets == nil {
		return cfg, nil
	}
	return a.opts.Secrets.Seal(ctx, cfg)
}
