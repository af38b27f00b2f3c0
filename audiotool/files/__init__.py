"""One file in, its outputs out: recordings and features, a few seconds at a time, in constant memory."""
