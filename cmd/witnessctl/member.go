package main

import (
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"quorate/witness/httpapi"
)

type membersBody struct {
	httpapi.Meta
	Leader  string               `json:"leader"`
	Members []httpapi.NodeMember `json:"members"`
}

func memberCommand(a *app) *cobra.Command {
	change := func(c *cobra.Command, req call) error {
		var body membersBody
		if err := a.send(c.Context(), req, &body); err != nil {
			return err
		}
		return a.printMembers(&body)
	}
	list := &cobra.Command{
		Use: "list", Short: "The witnesses", Example: "  witnessctl member list", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var body membersBody
			if err := a.get(c.Context(), "/v1/members", nil, &body); err != nil {
				return err
			}
			return a.printMembers(&body)
		},
	}
	add := &cobra.Command{
		Use: "add NAME PEER-ADDRESS", Short: "Take in a witness that was started to join",
		Long: `add takes in a witness that was started with join: true. It gets a vote as soon as
it has the log; until then the command may be repeated. A witness whose disk was
lost needs a name that was never used: its old vote must not be cast twice.`,
		Example: "  witnessctl member add w4 10.0.3.11:7400", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			var body membersBody
			if err := a.post(c.Context(), "/v1/members", httpapi.NewMember{Name: args[0], Peer: args[1]}, true, &body); err != nil {
				return err
			}
			return a.printMembers(&body)
		},
	}
	remove := &cobra.Command{
		Use: "remove NAME", Short: "Take a witness out for good",
		Example: "  witnessctl member remove w3", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return change(c, call{method: http.MethodDelete, path: path("members", args[0])})
		},
	}
	move := &cobra.Command{
		Use: "move-leader [NAME]", Short: "Let another witness lead, before maintenance of the leader",
		Example: "  witnessctl member move-leader w2", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			order := map[string]string{}
			if len(args) == 1 {
				order["to"] = args[0]
			}
			var body membersBody
			if err := a.post(c.Context(), "/v1/leader", order, false, &body); err != nil {
				return err
			}
			return a.printMembers(&body)
		},
	}
	return group("member", "Which witnesses there are", "  witnessctl member list\n  witnessctl member add w4 10.0.3.11:7400", list, add, remove, move)
}

func (a *app) printMembers(body *membersBody) error {
	return a.print(body, func(w io.Writer) {
		readOnlyNote(w, &body.Meta)
		t := &table{head: []string{"Witness", "Leads", "Alive", "Vote", "Peer", "API"}}
		for _, m := range body.Members {
			t.add(m.Name, yesNo(m.Name == body.Leader), yesNo(m.Alive), yesNo(m.Voter), dash(m.Peer), dash(m.API))
		}
		t.write(w)
	})
}
