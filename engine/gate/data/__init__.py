"""What a verdict is made of: records that are checked as they are read, without logic."""
