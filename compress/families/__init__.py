"""Model families: one file says where one family keeps its heads, FFN channels and layers."""
