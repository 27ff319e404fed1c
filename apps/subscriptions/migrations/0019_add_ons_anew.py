from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0018_contract_features'),
    ]

    operations = [
        migrations.AddField(
            model_name='subscriptionsegment',
            name='anew',
            field=models.BooleanField(default=False),
        ),
    ]
