"""Ten thousand honest phones: a plan, its phones on one loop, one core or many, and what was measured."""
