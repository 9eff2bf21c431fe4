"""Protocol ``hear``: the classifier of the HEAR benchmark."""
