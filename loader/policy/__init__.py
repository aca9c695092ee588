"""Policy files as values, and the decision over verified evidence."""
