"""What answers say of policies, and the page that shows it."""
