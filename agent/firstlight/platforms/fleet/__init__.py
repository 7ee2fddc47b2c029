"""Fleet (fleet.co): an inventory of office equipment. It has a management half only."""

WITHOUT = {"device": "Fleet is an inventory, no box speaks to it: 'firstlight device create' at the desk puts it in."}
