"""What Dangerzone's tools exchange: archives for the far side, folders of signatures."""
