"""Hours of churn: policies, nodes, interfaces and flows come and go, and nothing may grow."""
