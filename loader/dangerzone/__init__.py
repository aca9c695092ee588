"""Archives of `dangerzone-image prepare-archive`: read strictly, packed anew, then judged."""
