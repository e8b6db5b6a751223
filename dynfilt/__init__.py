"""dynfilt: ablation studies of layers whose filters are computed from their input."""
