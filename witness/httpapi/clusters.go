package httpapi

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"quorate/witness"
)

type clusterInput struct {
	Cluster string `path:"cluster" maxLength:"63" doc:"name of the cluster"`
	ReadInput
}

func (in *clusterInput) name() string { return in.Cluster }

type clusterList struct {
	Meta
	Clusters []ClusterView `json:"clusters"`
}

type clusterBody struct {
	Meta
	Cluster ClusterView `json:"cluster"`
}

// Explanation is why a cluster is as it is, and why nothing else happens.
type Explanation struct {
	Meta
	Cluster  string            `json:"cluster"`
	Sentence string            `json:"sentence" doc:"the outcome in one sentence"`
	Decisive string            `json:"decisive" doc:"the rule that settled it"`
	Findings []witness.Finding `json:"findings" doc:"all rules that were evaluated"`
	Plan     *witness.Plan     `json:"plan,omitempty" doc:"what the leader decides from here"`
}

type historyBody struct {
	Meta
	Cluster string         `json:"cluster"`
	Now     witness.Time   `json:"now" doc:"cluster time in nanoseconds"`
	Runs    []*witness.Run `json:"runs" doc:"newest last; times are cluster time in nanoseconds, wall is Unix milliseconds"`
}

func (a *API) routeClusters(h huma.API) {
	register(a, h, huma.Operation{OperationID: "list-clusters", Method: "GET", Path: "/v1/clusters", Summary: "All clusters with their holders", Tags: []string{"clusters"}},
		func(ctx context.Context, in *ReadInput) (*answer[clusterList], error) {
			s, err := a.read(ctx, in.Consistent)
			if err != nil {
				return nil, err
			}
			v := a.view(s)
			out := clusterList{Meta: a.meta(s), Clusters: []ClusterView{}}
			for _, c := range s.Clusters() {
				out.Clusters = append(out.Clusters, viewCluster(v, c))
			}
			return &answer[clusterList]{out}, nil
		}, nil)
	register(a, h, huma.Operation{OperationID: "get-cluster", Method: "GET", Path: "/v1/clusters/{cluster}", Summary: "One cluster", Tags: []string{"clusters"}},
		func(ctx context.Context, in *clusterInput) (*answer[clusterBody], error) {
			s, c, err := a.cluster(ctx, in)
			if err != nil {
				return nil, err
			}
			return &answer[clusterBody]{clusterBody{a.meta(s), viewCluster(a.view(s), c)}}, nil
		}, (*clusterInput).name)
	register(a, h, huma.Operation{OperationID: "explain-cluster", Method: "GET", Path: "/v1/clusters/{cluster}/explain", Summary: "Why a cluster is as it is: every rule with its inputs", Tags: []string{"clusters"}},
		func(ctx context.Context, in *clusterInput) (*answer[Explanation], error) {
			s, c, err := a.cluster(ctx, in)
			if err != nil {
				return nil, err
			}
			ver := witness.Judge(a.view(s), c.Name)
			out := Explanation{Meta: a.meta(s), Cluster: c.Name, Sentence: ver.Sentence, Decisive: ver.Decisive, Findings: ver.Findings}
			if ver.Plan != nil {
				plan := *ver.Plan
				plan.Rules = nil // they are the findings
				out.Plan = &plan
			}
			if out.ReadOnly {
				out.Sentence = "without contact to a quorum for " + ago(a.b.Node().Contact) + ", this witness knows only: " + out.Sentence
			}
			return &answer[Explanation]{out}, nil
		}, (*clusterInput).name)
	register(a, h, huma.Operation{OperationID: "cluster-history", Method: "GET", Path: "/v1/clusters/{cluster}/history", Summary: "The failovers and switchovers of a cluster with their phases", Tags: []string{"clusters"}},
		func(ctx context.Context, in *clusterInput) (*answer[historyBody], error) {
			s, c, err := a.cluster(ctx, in)
			if err != nil {
				return nil, err
			}
			runs := c.Runs
			if runs == nil {
				runs = []*witness.Run{}
			}
			return &answer[historyBody]{historyBody{a.meta(s), c.Name, s.Now, runs}}, nil
		}, (*clusterInput).name)
}

// cluster returns the cluster that a read is about.
func (a *API) cluster(ctx context.Context, in *clusterInput) (*witness.State, *witness.Cluster, error) {
	s, err := a.read(ctx, in.Consistent)
	if err != nil {
		return nil, nil, err
	}
	c := s.Cluster(in.Cluster)
	if c == nil {
		return nil, nil, errorf(witness.CodeNotFound, "there is no cluster %q; `witnessctl cluster list` shows them", in.Cluster)
	}
	return s, c, nil
}

// view returns what a decision on s would be made from now.
func (a *API) view(s *witness.State) witness.View {
	v := a.b.View()
	v.State = s
	v.Now = max(v.Now, s.Now)
	return v
}
