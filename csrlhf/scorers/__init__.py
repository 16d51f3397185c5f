"""Scorers of any origin behind one interface: where rewards, costs and a judge's verdicts come from."""
