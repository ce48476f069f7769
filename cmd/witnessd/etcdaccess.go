package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"

	"quorate/witness/etcdapi"
)

// accessFile is the file that `etcd.auth` names. It must be the same on all
// witnesses: a token of one is good on the others, and so is a right.
type accessFile struct {
	Secrets  []string            `yaml:"secrets"`   // the first signs tokens, all verify
	TokenTTL time.Duration       `yaml:"token_ttl"` // default 1h
	Users    map[string]userSpec `yaml:"users"`
}

type userSpec struct {
	Password string     `yaml:"password"` // hash of bcrypt; empty: known by certificate only
	Admin    bool       `yaml:"admin"`
	Rules    []ruleSpec `yaml:"rules"`
}

type ruleSpec struct {
	Prefix *string `yaml:"prefix"`
	Allow  string  `yaml:"allow"` // read, write or readwrite
}

const (
	minSecret = 32 // characters
	// maxHashCost keeps a login from occupying a small machine for seconds.
	maxHashCost = 12
	minTokenTTL = time.Minute
)

// loadAccess reads an access file. Every fault is reported at once.
func loadAccess(path string) (*etcdapi.Access, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the access file: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	var f accessFile
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	access, err := f.access()
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, err)
	}
	return access, nil
}

func (f *accessFile) access() (*etcdapi.Access, error) {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("  "+format, args...)) }
	out := &etcdapi.Access{TokenTTL: f.TokenTTL, Users: map[string]etcdapi.User{}}
	if len(f.Secrets) == 0 {
		add("secrets: list at least one, the same on all witnesses, for example from `openssl rand -hex 32`")
	}
	for i, secret := range f.Secrets {
		if len(secret) < minSecret {
			add("secrets: number %d has %d characters; whoever guesses it is every user, so take at least %d", i+1, len(secret), minSecret)
		}
		out.Secrets = append(out.Secrets, []byte(secret))
	}
	if f.TokenTTL != 0 && f.TokenTTL < minTokenTTL {
		add("token_ttl: %s is too short, clients would check their password all the time; take at least %s", f.TokenTTL, minTokenTTL)
	}
	if len(f.Users) == 0 {
		add("users: nobody could do anything; declare at least one")
	}
	names := make([]string, 0, len(f.Users))
	for name := range f.Users {
		names = append(names, name)
	}
	slices.Sort(names) // so that the faults come in the same order each time
	for _, name := range names {
		spec := f.Users[name]
		out.Users[name] = spec.user(name, add)
	}
	return out, errors.Join(faults...)
}

func (u *userSpec) user(name string, add func(string, ...any)) etcdapi.User {
	out := etcdapi.User{Admin: u.Admin}
	if name == "" {
		add("users: one has no name")
	}
	if u.Password != "" {
		out.PasswordHash = []byte(u.Password)
		cost, err := bcrypt.Cost(out.PasswordHash)
		switch {
		case err != nil:
			add("users.%s.password: this is not a hash of bcrypt; `witnessd hash-password` makes one", name)
		case cost > maxHashCost:
			add("users.%s.password: a cost of %d takes seconds on a small machine; take at most %d", name, cost, maxHashCost)
		}
	}
	if len(u.Rules) == 0 && !u.Admin {
		add("users.%s: without rules this user may do nothing", name)
	}
	for i, r := range u.Rules {
		rule := etcdapi.Rule{Read: strings.HasPrefix(r.Allow, "read"), Write: strings.HasSuffix(r.Allow, "write")}
		if r.Allow != "read" && r.Allow != "write" && r.Allow != "readwrite" {
			add("users.%s.rules[%d].allow: %q is none of read, write, readwrite", name, i, r.Allow)
		}
		if r.Prefix == nil {
			add("users.%s.rules[%d].prefix: say which keys; \"\" means all of them", name, i)
		} else {
			rule.Prefix = *r.Prefix
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

func hashCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash-password",
		Short: "Hash a password, one line from standard input, for the access file",
		Example: "  witnessd hash-password <password.txt\n" +
			"  systemd-ask-password | witnessd hash-password",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			password := strings.TrimRight(line, "\r\n")
			if password == "" {
				return errors.New("no password: give one line on standard input")
			}
			hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
			if err != nil {
				return fmt.Errorf("hash the password: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(hash))
			return err
		},
	}
}
