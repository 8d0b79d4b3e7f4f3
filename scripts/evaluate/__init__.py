"""Every figure that is promised, measured on people of the synthetic studio."""
