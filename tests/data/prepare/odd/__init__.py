"""Random odd inputs of data.prepare.folder, each with the rows that are true of it."""
