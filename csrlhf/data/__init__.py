"""Sources of rows, their encoding, and the DataModules that batch them for the stages."""
