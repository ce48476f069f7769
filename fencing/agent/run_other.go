//go:build !linux

package agent

import (
	"context"
	"errors"
)

func execute(context.Context, string, string) (int, string, error) {
	return 0, "", errors.New("fence agents are run on Linux only")
}
