"""The search: its settings (config), its loop, the optimisers and schedules that it can use."""
