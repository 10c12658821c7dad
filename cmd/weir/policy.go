package main

import "github.com/spf13/cobra"

func policyCommand(g *global) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Test what policies decide",
	}
	return c
}
