"""The page that shows how good each class is. Imports training.fit and what is below it."""
