"""One person's part of a fleet, or that of a few who are trained together: the work of any worker."""
