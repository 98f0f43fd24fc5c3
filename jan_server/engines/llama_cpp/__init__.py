"""The optional engine `llama-cpp`: a current llama.cpp, out of the package `xllamacpp`."""
