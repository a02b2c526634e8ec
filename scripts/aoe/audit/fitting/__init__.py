"""Find the λ that explain one weight, from a sample of its numbers.

* ``sampling``: a part of the weight that is large enough to find λ with;
* ``bounds``: what each stored number says of the value that it was rounded from;
* ``least_squares``: plain least squares over the parents' differences, where the search starts;
* ``search``: the simplest λ within all bounds.
"""
