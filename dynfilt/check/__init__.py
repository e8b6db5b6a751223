"""Whether a layer with the interface of a convolution does what a dynamic layer must, one measured line a property."""
