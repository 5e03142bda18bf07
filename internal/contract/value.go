package main

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
)

// value computes a limit from the constants of the package.
func (c *contract) value(expression string) (int, error) {
	scope := types.NewPackage("limits", "limits")
	// A constant may refer to a later one.
	for range 3 {
		for name, text := range c.limits {
			if scope.Scope().Lookup(name) != nil {
				continue
			}
			if v, err := types.Eval(token.NewFileSet(), scope, token.NoPos, text); err == nil && v.Value != nil {
				scope.Scope().Insert(types.NewConst(token.NoPos, scope, name, v.Type, v.Value))
			}
		}
	}
	v, err := types.Eval(token.NewFileSet(), scope, token.NoPos, expression)
	if err != nil {
		return 0, fmt.Errorf("limit %s: %w", expression, err)
	}
	n, exact := constant.Int64Val(constant.ToInt(v.Value))
	if !exact {
		return 0, fmt.Errorf("limit %s is no whole number", expression)
	}
	return int(n), nil
}
