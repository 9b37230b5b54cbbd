"""File formats: modules as safetensors files, weights of other libraries, copies and pickles."""
