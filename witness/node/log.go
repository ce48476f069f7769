package node

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// hcLogger hands the warnings and errors of hashicorp/raft to slog. Its lower
// levels describe every round of the protocol and are dropped.
type hcLogger struct {
	hclog.Logger // answers what is not worth answering: names, levels, writers
	log          *slog.Logger
}

var _ hclog.Logger = hcLogger{}

func newHCLogger(log *slog.Logger) hclog.Logger {
	return hcLogger{Logger: hclog.NewNullLogger(), log: log}
}

func (l hcLogger) Log(level hclog.Level, msg string, args ...any) {
	if level < hclog.Warn {
		return
	}
	to := slog.LevelWarn
	if level >= hclog.Error {
		to = slog.LevelError
	}
	for i, a := range args {
		switch a := a.(type) {
		case hclog.Format:
			args[i] = fmt.Sprintf(a[0].(string), a[1:]...)
		case fmt.Stringer:
			args[i] = a.String()
		}
	}
	l.log.Log(context.Background(), to, "raft: "+msg, args...)
}

func (l hcLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l hcLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }
func (hcLogger) IsWarn() bool                    { return true }
func (hcLogger) IsError() bool                   { return true }
func (l hcLogger) With(args ...any) hclog.Logger {
	return hcLogger{Logger: l.Logger, log: l.log.With(args...)}
}
func (l hcLogger) Named(string) hclog.Logger      { return l }
func (l hcLogger) ResetNamed(string) hclog.Logger { return l }
