"""The filters themselves: what conditions them, how they are generated, how they are applied."""
