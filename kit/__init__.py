"""The ground floor: what every room uses and is no room's own work. Imports nothing of the kit."""
