"""Docker Content Trust: is a Notary v1 repository's metadata what its pinned root says it is?"""
