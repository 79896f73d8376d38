"""Studies of many networks: what to measure of each, tables of rows, effects and figures."""
