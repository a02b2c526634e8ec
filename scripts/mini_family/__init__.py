"""The mini family: small trained models of the DeepSeek-V3 architecture that stand in for V3-0324, R1 and R1-0528."""
