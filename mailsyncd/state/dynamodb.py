class DynamoStore:
    def __init__(self,*a,**k): pass
